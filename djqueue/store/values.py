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


def is_plain(value: str) -> str:
    """Return the SQL condition that a stored result is plain JSON.

    All else is opened where the task runs (``serializers/handed_on.py``).
    """
    return f"(jsonb_typeof({value}) <> 'object' OR NOT ({value} ? '__serializer__' OR {value} ? '__results__'))"


def in_front(value: str, arguments: str) -> str:
    """Return the SQL expression of arguments with a stored result in front of them."""
    return (
        f"CASE WHEN jsonb_typeof({arguments}) = 'array' AND {is_plain(value)}"
        f" THEN jsonb_build_array({value}) || {arguments}"
        f" ELSE jsonb_build_object('__previous__', {value}, 'args', {arguments}) END"
    )


# The results of a group's members in order; a member that is a group itself has kept the list of its own.
VALUES = Block(
    verb="values",
    arguments=("uuid",),
    returns="jsonb",
    declare="",
    statements=f"""
RETURN (
    SELECT CASE
        WHEN coalesce(bool_and({is_plain("value")}), true)
        THEN coalesce(jsonb_agg(value ORDER BY group_index), '[]'::jsonb)
        ELSE jsonb_build_object('__results__', jsonb_agg(value ORDER BY group_index))
    END
    FROM (
        SELECT task.group_index, coalesce(result.value, 'null'::jsonb) AS value
        FROM djqueue_task AS task
        CROSS JOIN LATERAL (
            SELECT value FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1
        ) AS result
        WHERE task.group_id = $1
        UNION ALL
        SELECT inner_group.group_index, coalesce(inner_group.value, 'null'::jsonb)
        FROM djqueue_taskgroup AS inner_group
        WHERE inner_group.group_id = $1
    ) AS member
);
""",
)
