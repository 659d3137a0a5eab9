import { type CompiledQuery, type RawBuilder, sql } from 'kysely';

/**
 * Compiles a query once for many runs: building it costs more than running it.
 * `hot<{ name: string }>()((value) => db.….where('name', '=', value('name')).compile())` gives a function from
 * values to a query for `executeQuery`.
 */
export function hot<V extends Readonly<Record<string, unknown>>>() {
  return <O>(
    build: (value: <K extends keyof V & string>(name: K) => RawBuilder<V[K]>) => CompiledQuery<O>,
  ): ((values: V) => CompiledQuery<O>) => {
    // While it is built, an object of its own stands for each value.
    const names = new Map<unknown, keyof V & string>();
    const compiled = build((name) => {
      const mark = { name };
      names.set(mark, name);
      return sql`${mark}`;
    });
    const places = compiled.parameters.map((parameter) => names.get(parameter));
    return (values) => ({
      ...compiled,
      parameters: places.map((name, index) =>
        name === undefined ? compiled.parameters[index] : values[name],
      ),
    });
  };
}
