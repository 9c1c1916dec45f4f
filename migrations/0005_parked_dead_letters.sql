-- Dead letters that are parked are looked for all the time: by their reason, and campaign by campaign.

ALTER TABLE failed_events
    ADD KEY failed_events_by_reason (resolution, reason, record_key);
