-- Templates of order requests, with all their versions and their schedules.

CREATE TABLE order_templates (
    time timestamptz NOT NULL,
    template_id text COLLATE "C" PRIMARY KEY,
    recorder text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    content jsonb NOT NULL,
    created_ns bigint NOT NULL,
    updated_ns bigint NOT NULL,
    updated_by text COLLATE "C" NOT NULL,
    deleted_ns bigint,
    next_ns bigint,
    last_run jsonb
);
CREATE UNIQUE INDEX order_templates_name ON order_templates (recorder, name) WHERE deleted_ns IS NULL;
CREATE INDEX order_templates_next ON order_templates (recorder, next_ns)
    WHERE next_ns IS NOT NULL AND deleted_ns IS NULL;

COMMENT ON TABLE order_templates IS 'Templates of order requests, each in its current version.';
COMMENT ON COLUMN order_templates.time IS 'When it was created.';
COMMENT ON COLUMN order_templates.template_id IS 'Identifies the template.';
COMMENT ON COLUMN order_templates.recorder IS 'The recorder that keeps it.';
COMMENT ON COLUMN order_templates.name IS 'Its name, unique among those of the recorder that are not deleted.';
COMMENT ON COLUMN order_templates.version IS 'Number of its current version, from 1.';
COMMENT ON COLUMN order_templates.content IS 'Its current version: name, description, order, valid_seconds, schedule.';
COMMENT ON COLUMN order_templates.created_ns IS 'When it was created, in nanoseconds.';
COMMENT ON COLUMN order_templates.updated_ns IS 'When its current version was written, in nanoseconds.';
COMMENT ON COLUMN order_templates.updated_by IS 'Who wrote it: name of the key, local without one.';
COMMENT ON COLUMN order_templates.deleted_ns IS 'When it was deleted, in nanoseconds; null: it was not.';
COMMENT ON COLUMN order_templates.next_ns IS 'When its schedule submits it next, in nanoseconds; null: never.';
COMMENT ON COLUMN order_templates.last_run IS 'What became of the newest scheduled time that is over.';

CREATE TABLE order_template_versions (
    time timestamptz NOT NULL,
    template_id text COLLATE "C" NOT NULL REFERENCES order_templates,
    version integer NOT NULL,
    time_ns bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    content jsonb NOT NULL,
    PRIMARY KEY (template_id, version)
);

COMMENT ON TABLE order_template_versions IS 'Every version of every template of order requests.';
COMMENT ON COLUMN order_template_versions.time IS 'When it was written.';
COMMENT ON COLUMN order_template_versions.template_id IS 'The template.';
COMMENT ON COLUMN order_template_versions.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN order_template_versions.time_ns IS 'When it was written, in nanoseconds.';
COMMENT ON COLUMN order_template_versions.actor IS 'Who wrote it: name of the key, local without one.';
COMMENT ON COLUMN order_template_versions.content IS 'Name, description, order, valid_seconds, schedule.';

ALTER TABLE order_requests ADD COLUMN template_id text COLLATE "C";
ALTER TABLE order_requests ADD COLUMN template_version integer;
ALTER TABLE order_requests ADD COLUMN scheduled_ns bigint;
COMMENT ON COLUMN order_requests.template_id IS 'The template that it was made from, if it was.';
COMMENT ON COLUMN order_requests.template_version IS 'The version of that template.';
COMMENT ON COLUMN order_requests.scheduled_ns IS 'The scheduled time at which it was submitted, in nanoseconds; null: by hand.';
