import type { z } from 'zod';
import { shapeWords } from './shape-words.ts';

/** With what a schema is tried whose faults are reported. */
export const inOurWords = { error: shapeWords };

/**
 * The fault in a value of somebody else: where, as a path of names that the schema has and of positions, and why. The names of
 * its own members are never repeated. The schema was tried with `inOurWords`.
 * @param whole names the value itself, if the fault is in no member of it
 */
export function shapeFault(
  error: z.ZodError,
  schema: z.ZodType,
  whole: string,
): { readonly field: string; readonly text: string } {
  const [issue] = error.issues;
  const names = memberNames(schema);
  const path: string[] = [];
  for (const part of issue?.path ?? []) {
    if (typeof part !== 'number' && !names.has(String(part))) break;
    path.push(String(part));
  }
  return { field: path.join('.') || whole, text: issue?.message ?? '' };
}

const known = new WeakMap<z.ZodType, ReadonlySet<string>>();

/** Every name that a member of such a value may have by its schema. */
function memberNames(schema: z.ZodType): ReadonlySet<string> {
  const before = known.get(schema);
  if (before !== undefined) return before;
  const names = new Set<string>();
  collect(schema, names);
  known.set(schema, names);
  return names;
}

function collect(schema: z.core.$ZodType, names: Set<string>): void {
  // Zod says of a schema which one it is, and its type for any of them does not.
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case 'object':
      for (const [name, member] of Object.entries(def.shape)) {
        names.add(name);
        collect(member, names);
      }
      return;
    case 'record':
      for (const word of def.keyType._zod.values ?? []) names.add(String(word));
      collect(def.valueType, names);
      return;
    case 'union':
      for (const option of def.options) collect(option, names);
      return;
    case 'array':
      collect(def.element, names);
      return;
    case 'tuple':
      for (const item of def.items) collect(item, names);
      return;
    case 'pipe':
      collect(def.in, names);
      collect(def.out, names);
      return;
    case 'optional':
    case 'nullable':
    case 'default':
    case 'readonly':
      collect(def.innerType, names);
  }
}
