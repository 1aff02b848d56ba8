BEGIN;
ALTER TABLE visits DROP COLUMN language;
UPDATE schema_version SET version = 1;
COMMIT;
