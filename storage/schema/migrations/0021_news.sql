-- Where a headline comes from, and what computed its sentiment.

ALTER TABLE news
    ADD COLUMN news_id text COLLATE "C",
    ADD COLUMN url text,
    ADD COLUMN scorer text COLLATE "C";
COMMENT ON COLUMN news.news_id IS 'Id of the headline at its publisher.';
COMMENT ON COLUMN news.url IS 'Address of the article.';
COMMENT ON COLUMN news.scorer IS 'Scorer that computed the sentiment; null: the emitter stated it, or there is none.';
