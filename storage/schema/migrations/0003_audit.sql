-- The audit log. A change and its entry are stored in one transaction.

CREATE TABLE audit (
    time timestamptz NOT NULL,
    id text COLLATE "C" PRIMARY KEY,
    time_ns bigint NOT NULL,
    recorder text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    key_id text COLLATE "C",
    address text COLLATE "C",
    action text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    result text COLLATE "C" NOT NULL,
    before jsonb,
    after jsonb,
    request_id text COLLATE "C"
);
CREATE INDEX audit_newest ON audit (time_ns, id);
COMMENT ON TABLE audit IS 'Audit log: who changed what through the API or "decahertz keys". Rows are only added.';
COMMENT ON COLUMN audit.time IS 'When the change was made.';
COMMENT ON COLUMN audit.id IS 'Id of the entry.';
COMMENT ON COLUMN audit.time_ns IS 'When the change was made, in nanoseconds.';
COMMENT ON COLUMN audit.recorder IS 'The recorder that received the call; empty for the command line.';
COMMENT ON COLUMN audit.actor IS 'Name of the key, "local", or "command line" with the user.';
COMMENT ON COLUMN audit.key_id IS 'Id of the key; null without one.';
COMMENT ON COLUMN audit.address IS 'Address that the request came from.';
COMMENT ON COLUMN audit.action IS 'What was changed, such as alert.acknowledge or key.create.';
COMMENT ON COLUMN audit.target IS 'Id of the thing that was changed.';
COMMENT ON COLUMN audit.result IS '"done", or why the call was refused.';
COMMENT ON COLUMN audit.before IS 'The changed values as they were before.';
COMMENT ON COLUMN audit.after IS 'The changed values afterwards.';
COMMENT ON COLUMN audit.request_id IS 'Id of the request, as in the log of the recorder.';

CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the table audit are never changed or removed';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();

-- Roles that were granted to read every table, such as Grafana's, must not read who did what.
DO $$
DECLARE reader record;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema() AND table_name = 'audit' AND grantee <> current_user
    LOOP
        EXECUTE format('REVOKE ALL ON audit FROM %I', reader.grantee);
    END LOOP;
END $$;
