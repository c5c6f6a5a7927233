-- Keys of the API. The key itself is stored nowhere: only a slow hash of its secret.

CREATE TABLE api_keys (
    time timestamptz NOT NULL,
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    hash text COLLATE "C" NOT NULL,
    created_ns bigint NOT NULL,
    expires_ns bigint,
    last_used_ns bigint,
    revoked_ns bigint
);
COMMENT ON TABLE api_keys IS 'Keys of the API: names, scopes and hashes. "decahertz keys" manages them.';
COMMENT ON COLUMN api_keys.time IS 'When the key was created.';
COMMENT ON COLUMN api_keys.id IS 'Id of the key: its public part.';
COMMENT ON COLUMN api_keys.name IS 'Who or what uses the key.';
COMMENT ON COLUMN api_keys.scopes IS 'What the key permits: read, ingest, trade, admin.';
COMMENT ON COLUMN api_keys.hash IS 'scrypt hash of the secret part: parameters, salt and hash.';
COMMENT ON COLUMN api_keys.created_ns IS 'When the key was created, in nanoseconds.';
COMMENT ON COLUMN api_keys.expires_ns IS 'When the key expires, in nanoseconds; null for never.';
COMMENT ON COLUMN api_keys.last_used_ns IS 'When the key was last used, to the minute, in nanoseconds.';
COMMENT ON COLUMN api_keys.revoked_ns IS 'When the key was revoked, in nanoseconds; null while it is valid.';

-- Roles that were granted to read every table, such as Grafana's, must not read hashes.
DO $$
DECLARE reader record;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema() AND table_name = 'api_keys' AND grantee <> current_user
    LOOP
        EXECUTE format('REVOKE ALL ON api_keys FROM %I', reader.grantee);
    END LOOP;
END $$;
