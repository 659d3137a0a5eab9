import type { Form } from './mutate/form.ts';

/** A parser of bytes or text from outside, as the fuzzer sees it. */
export interface FuzzedParser {
  /** Whose functions, branches and lines are counted: files, from the project's root. */
  readonly sources: readonly string[];
  readonly form: Form;
  /** Bytes of an input: its own bound, or less where that is enough to reach all of it. */
  readonly most: number;
  /** Recorded inputs; never none. */
  seeds(): readonly Buffer[];
  /** What it gives may be a promise. */
  parse(bytes: Buffer): unknown;
  /** Whether this is the error by which it refuses its input; any other one is a fault of ours. */
  isDeclared(error: unknown): boolean;
  /** Whether an input that was refused with this got past the first look at it, such as a magic or `is no JSON`. */
  isPastHeader(error: unknown): boolean;
}

/** By name, which is also that of its folder of regressions; each is loaded when it is its turn. */
export type ParserList = Readonly<Record<string, () => Promise<FuzzedParser>>>;

export async function parserOf(parsers: ParserList, name: string): Promise<FuzzedParser> {
  const load = Object.hasOwn(parsers, name) ? parsers[name] : undefined;
  if (load === undefined) throw new Error(`there is no parser ${name}`);
  return load();
}
