import type { Reference } from '../../../protocol/reference.ts';

/** What another program expects of a boot, as far as a reference can say it. */
export interface Foreign {
  readonly components: readonly Omit<Reference['components'][number], 'scope'>[];
  /** What is left out, and why: a line each, for people. */
  readonly notes: readonly string[];
}
