-- Which user ids a campaign takes.

ALTER TABLE campaigns
    -- Said when the campaign is created, and never changed. 'numeric': whole numbers from 0 to 2^63-1 alone, for bridges
    -- that publish the bare number. 'unstated': the campaign is older than this column; it takes any.
    ADD COLUMN user_ids VARCHAR(16) NOT NULL DEFAULT 'unstated',
    ADD CONSTRAINT campaigns_user_ids_are_known CHECK (user_ids IN ('any', 'numeric', 'unstated'));
