import type { DatabaseSync, SQLInputValue, StatementResultingChanges } from 'node:sqlite';
import { type CompiledQuery, type RawBuilder, sql } from 'kysely';

type Build<V, O> = (value: <K extends keyof V & string>(name: K) => RawBuilder<V[K]>) => CompiledQuery<O>;

/**
 * Compiles a query once for many runs: building it costs more than running it.
 * `hot<{ name: string }>()((value) => db.….where('name', '=', value('name')).compile())` gives a function from
 * values to a query for `executeQuery`.
 */
export function hot<V extends Readonly<Record<string, unknown>>>() {
  return <O>(build: Build<V, O>): ((values: V) => CompiledQuery<O>) => {
    const { compiled, places } = compile(build);
    return (values) => ({
      ...compiled,
      parameters: places.map((name, index) =>
        name === undefined ? compiled.parameters[index] : values[name],
      ),
    });
  };
}

/**
 * The same as a statement that runs at once, without a promise: for many writes in one transaction, by who holds the
 * connection. The function gives the number of rows that changed, and the rowid of the one inserted last.
 */
export function hotWrite<V extends Readonly<Record<string, SQLInputValue>>>(database: DatabaseSync) {
  return (build: Build<V, unknown>): ((values: V) => StatementResultingChanges) => {
    const { compiled, places } = compile(build);
    const statement = database.prepare(compiled.sql);
    const names = places.map((name) => name ?? fixedValue(compiled.sql));
    return (values) => statement.run(...names.map((name) => values[name] ?? null));
  };
}

function compile<V extends Readonly<Record<string, unknown>>, O>(build: Build<V, O>) {
  // While it is built, an object of its own stands for each value.
  const names = new Map<unknown, keyof V & string>();
  const compiled = build((name) => {
    const mark = { name };
    names.set(mark, name);
    return sql`${mark}`;
  });
  return { compiled, places: compiled.parameters.map((parameter) => names.get(parameter)) };
}

function fixedValue(text: string): never {
  throw new Error(`write the fixed value into the statement: ${text}`);
}
