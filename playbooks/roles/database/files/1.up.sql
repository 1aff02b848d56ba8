BEGIN;
CREATE TABLE schema_version (version integer NOT NULL);
INSERT INTO schema_version VALUES (1);
CREATE TABLE visits (path varchar(200) NOT NULL, seen timestamp NOT NULL);
COMMIT;
