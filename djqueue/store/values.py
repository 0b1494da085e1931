"""Values: what steps of a workflow are given of those before them, and how errors are told."""

from __future__ import annotations

from .functions import Block

# As Python shows an exception. Arguments are what `encode_error` stored of them.
REPR = Block(
    verb="repr",
    arguments=("jsonb",),
    returns="text",
    declare="",
    statements=r"""
RETURN ($1 ->> 'exc_type') || '(' || coalesce((
    SELECT string_agg(
        CASE jsonb_typeof(argument)
            WHEN 'string' THEN
                CASE WHEN argument #>> '{}' LIKE '%''%' AND argument #>> '{}' NOT LIKE '%"%'
                    THEN '"' || replace(replace(argument #>> '{}', '\', '\\'), E'\n', '\n') || '"'
                    ELSE '''' || replace(
                        replace(replace(argument #>> '{}', '\', '\\'), E'\n', '\n'), '''', '\'''
                    ) || ''''
                END
            WHEN 'boolean' THEN initcap(argument::text)
            WHEN 'null' THEN 'None'
            ELSE argument::text
        END, ', ' ORDER BY place)
    FROM jsonb_array_elements($1 -> 'exc_message') WITH ORDINALITY AS message (argument, place)
), '') || ')';
""",
)

# The results of a group's members in order; a member that is a group itself has kept the list of its own.
VALUES = Block(
    verb="values",
    arguments=("uuid",),
    returns="jsonb",
    declare="",
    statements="""
RETURN (
    SELECT coalesce(jsonb_agg(value ORDER BY group_index), '[]'::jsonb)
    FROM (
        SELECT task.group_index, coalesce(result.value, 'null'::jsonb) AS value
        FROM djqueue_task AS task
        CROSS JOIN LATERAL (
            SELECT value FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1
        ) AS result
        WHERE task.group_id = $1
        UNION ALL
        SELECT inner_group.group_index, inner_group.value
        FROM djqueue_taskgroup AS inner_group
        WHERE inner_group.group_id = $1
    ) AS member
);
""",
)
