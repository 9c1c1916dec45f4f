-- The users of Rushgate in MySQL or MariaDB. An administrator runs this before the first `rushgate setup`, and
-- mysql-after-setup.sql after it. Both may run again at any time. The database is called `rushgate`; README.md says how
-- to change that.
--
-- The users have no passwords and are locked. Give each a password of its own, which also unlocks it:
--   ALTER USER 'rushgate-consumer'@'%' IDENTIFIED BY '…' ACCOUNT UNLOCK;

CREATE DATABASE IF NOT EXISTS `rushgate` CHARACTER SET utf8mb4;

CREATE USER IF NOT EXISTS 'rushgate-setup'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'rushgate-operator'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'rushgate-consumer'@'%' ACCOUNT LOCK;

-- `rushgate setup` creates and alters the tables, records its progress, and reads the names of the campaigns.
GRANT CREATE, ALTER, REFERENCES ON `rushgate`.* TO 'rushgate-setup'@'%';
GRANT CREATE, SELECT, INSERT, UPDATE ON `rushgate`.`_sqlx_migrations` TO 'rushgate-setup'@'%';
GRANT CREATE, SELECT ON `rushgate`.`campaigns` TO 'rushgate-setup'@'%';
