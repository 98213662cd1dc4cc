CREATE OR REPLACE VIEW relay_answers AS
SELECT
  regexp_extract("$path", '([0-9a-f]{20})/results\.jsonl$', 1) AS job,
  CAST(json_extract_scalar(line, '$.row') AS bigint) AS "row",
  coalesce(
    json_extract_scalar(line, '$.custom_id'),
    nullif(json_format(json_extract(line, '$.custom_id')), 'null')
  ) AS custom_id,
  json_extract_scalar(line, '$.result.type') AS outcome,
  array_join(
    transform(
      filter(
        CAST(json_extract(line, '$.result.message.content') AS array(json)),
        block -> json_extract_scalar(block, '$.type') = 'text'
      ),
      block -> json_extract_scalar(block, '$.text')
    ),
    ''
  ) AS answer,
  json_extract_scalar(line, '$.result.message.stop_reason') AS stop_reason,
  coalesce(
    json_extract_scalar(line, '$.result.error.error.type'),
    json_extract_scalar(line, '$.result.error.code')
  ) AS error,
  coalesce(
    json_extract_scalar(line, '$.result.error.error.message'),
    json_extract_scalar(line, '$.result.error.message')
  ) AS message,
  CAST(json_extract_scalar(line, '$.result.message.usage.input_tokens') AS bigint) AS input_tokens,
  CAST(json_extract_scalar(line, '$.result.message.usage.output_tokens') AS bigint) AS output_tokens
FROM relay_lines
WHERE "$path" LIKE '%/results.jsonl'
