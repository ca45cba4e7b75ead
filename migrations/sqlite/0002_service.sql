-- What the service needs: whose a trace or a job is, how far a job is in words and counts, what a key may do and
-- until when, and the passage that a reader holds for the better one. The same statements for both databases.

alter table traces add column owner text;
create index traces_by_owner on traces (owner, id);

alter table feedback add column better_passage text;

alter table jobs add column owner text;
alter table jobs add column request_hash text;
alter table jobs add column stage text not null default '';
alter table jobs add column items_done bigint not null default 0;
alter table jobs add column items_total bigint;
alter table jobs add column started_ms bigint;
create index jobs_by_owner on jobs (owner, id);

alter table api_keys add column scopes text not null default 'ask search';
alter table api_keys add column expires_ms bigint;
