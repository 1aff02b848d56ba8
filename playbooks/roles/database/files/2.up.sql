BEGIN;
ALTER TABLE visits ADD COLUMN language varchar(8);
UPDATE schema_version SET version = 2;
COMMIT;
