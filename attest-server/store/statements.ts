import { type CompiledQuery, type RawBuilder, sql } from 'kysely';

/** Builds a query; `value('name')` is a placeholder for the value of a run. */
export type Build<V, O> = (
  value: <K extends keyof V & string>(name: K) => RawBuilder<V[K]>,
) => CompiledQuery<O>;

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

/** The SQL, and for each parameter the name of the value that it takes; undefined for a fixed one. */
export function compile<V extends Readonly<Record<string, unknown>>, O>(build: Build<V, O>) {
  // While it is built, an object of its own stands for each value.
  const names = new Map<unknown, keyof V & string>();
  const compiled = build((name) => {
    const mark = { name };
    names.set(mark, name);
    return sql`${mark}`;
  });
  return { compiled, places: compiled.parameters.map((parameter) => names.get(parameter)) };
}
