"""What must survive: one SQLite file, synchronous=FULL. Whoever works on it ends with commit(); nothing that says
"I have it" may leave before that. What the tables mean stands beside them."""
import sqlite3

SCHEMA = """
create table if not exists meta(key text primary key, value);
-- every directory update held, as it came
create table if not exists directory(number integer primary key, record blob);
-- one row a neighbour (7.3, 7.4): received and above: its serials that we hold; next_serial: ours that comes next;
-- numbered_in: our epoch when our serials began; doubt: highest next_serial told in a hello that was not answered yet;
-- acked: highest serial it acknowledged
create table if not exists circuit(neighbour integer primary key, peer_epoch integer, numbered_in integer, received integer, above text,
  next_serial integer, doubt integer, acked integer);
-- messages authored here and delivered here; level, answered: what we signed for, and for which retry
create table if not exists message(origin integer, epoch integer, sequence integer, hash blob, envelope blob, kind integer, flags integer,
  created_s integer, life_s integer, mine integer, complete integer, ended text, closed_s integer, level integer default 0,
  answered integer default 0, late integer default 0, suspect integer default 0, counter integer, taken_s integer,
  primary key(origin, epoch, sequence));
create table if not exists leaf(origin integer, epoch integer, sequence integer, number integer, data blob,
  primary key(origin, epoch, sequence, number));
-- addressees of messages authored here; hop: 'row N' of the queue in which a copy waits, 'passed' to a neighbour, or 'refused'
create table if not exists recipient(epoch integer, sequence integer, node integer, hop text, retry integer default 0,
  after_epoch integer default 0, next_s real default 0, level integer default 0, reason integer default 0, witness_epoch integer default 0,
  witness_counter integer default 0, time_s integer default 0, primary key(epoch, sequence, node));
-- signed receipts that came for messages authored here, and those that we signed
create table if not exists receipt(witness integer, epoch integer, counter integer, record blob, primary key(witness, epoch, counter));
create table if not exists presence(node integer primary key, epoch integer, counter integer, record blob, heard_s real);
-- what waits for a neighbour, in order: a message or a receipt record; serial once it has one
create table if not exists queue(row integer primary key autoincrement, neighbour integer, precedence integer, type integer,
  origin integer, epoch integer, sequence integer, serial integer, not_before real default 0, tries integer default 0);
create index if not exists queue_by on queue(neighbour, precedence, row);
"""


class Store:
    def __init__(self, path):
        self.base = sqlite3.connect(path, isolation_level=None)
        self.base.row_factory = sqlite3.Row
        self.base.execute("pragma journal_mode=wal")
        self.base.execute("pragma synchronous=full")
        self.base.executescript(SCHEMA)
        self.commits = 0

    def run(self, sql, *values):
        """One statement in the open transaction, which it begins where there is none."""
        if not self.base.in_transaction and not sql.startswith("select"):
            self.base.execute("begin immediate")
        return self.base.execute(sql, values)

    def one(self, sql, *values):
        return self.base.execute(sql, values).fetchone()

    def all(self, sql, *values):
        return self.base.execute(sql, values).fetchall()

    def commit(self):
        """Returns when all that was done is on disk."""
        if self.base.in_transaction:
            self.base.execute("commit")
            self.commits += 1

    def get(self, key, default=None):
        found = self.one("select value from meta where key=?", key)
        return found[0] if found else default

    def put(self, key, value):
        self.run("insert or replace into meta values(?,?)", key, value)

    def close(self):
        self.base.close()
