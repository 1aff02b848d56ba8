BEGIN;
DROP TABLE visits;
DROP TABLE schema_version;
COMMIT;
