-- Soft limits of risk measures.

ALTER TABLE risks ADD COLUMN soft_limit double precision;
COMMENT ON COLUMN risks.soft_limit IS 'Soft limit of the measure, above which somebody has to know.';
