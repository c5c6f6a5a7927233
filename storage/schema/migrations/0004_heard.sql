-- When something of an emitter was stored last: a process that starts asks for those heard of lately.

ALTER TABLE emitters ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN emitters.updated_at IS 'When events of it were stored last.';
