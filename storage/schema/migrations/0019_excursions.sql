-- Worst and best P&L of round trips while they were open, stored with them.

ALTER TABLE trades
    ADD COLUMN mae double precision,
    ADD COLUMN mfe double precision,
    ADD COLUMN mids bigint NOT NULL DEFAULT 0,
    ADD COLUMN excursion_reason text COLLATE "C",
    ADD COLUMN excursion_due_ns bigint DEFAULT 0;
COMMENT ON COLUMN trades.mae IS
    'Worst P&L while it was open, in the account currency, at the mids of the cycles; realised part and fees included.';
COMMENT ON COLUMN trades.mfe IS 'Best P&L while it was open, likewise.';
COMMENT ON COLUMN trades.mids IS 'Mids that mae and mfe were computed from.';
COMMENT ON COLUMN trades.excursion_reason IS 'Why mae and mfe are not known.';
COMMENT ON COLUMN trades.excursion_due_ns IS
    'When mae and mfe can be computed: all samples until then are stored; null: they are.';
CREATE INDEX trades_excursion_due ON trades (excursion_due_ns) WHERE excursion_due_ns IS NOT NULL;
