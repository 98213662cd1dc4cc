-- A view of all results below results/, in this folder or, after `load httpfs`, in S3.
create or replace view answers as
select
  regexp_extract(filename, '([0-9a-f]{20})/results\.jsonl$', 1) as job,
  "row",
  custom_id->>'$' as custom_id,
  result->>'$.type' as outcome,
  array_to_string([
    block->>'$.text'
    for block in from_json(result->'$.message.content', '["JSON"]')
    if block->>'$.type' = 'text'
  ], '') as answer,
  result->>'$.message.stop_reason' as stop_reason,
  coalesce(result->>'$.error.error.type', result->>'$.error.code') as error,
  coalesce(result->>'$.error.error.message', result->>'$.error.message') as message,
  cast(result->>'$.message.usage.input_tokens' as bigint) as input_tokens,
  cast(result->>'$.message.usage.output_tokens' as bigint) as output_tokens
from read_json(
  'results/**/results.jsonl',
  format = 'newline_delimited',
  columns = {"row": 'BIGINT', custom_id: 'JSON', result: 'JSON'},
  maximum_object_size = 67108864,
  filename = true
);
