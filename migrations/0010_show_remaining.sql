-- What the API tells about the coupons that are left.

ALTER TABLE campaigns
    -- Campaigns that are older than this column show every count, as before.
    ADD COLUMN show_remaining VARCHAR(16) NOT NULL DEFAULT 'exact',
    ADD CONSTRAINT campaigns_show_remaining_is_known CHECK (show_remaining IN ('exact', 'rough', 'hidden'));
