import type { z } from 'zod';
import { namesPrototype } from './prototype-key.ts';
import { Rejection } from './rejection.ts';
import { inOurWords, shapeFault } from './shape-fault.ts';

/**
 * JSON that somebody else wrote, as a value of the schema.
 * @param what names it in the text of a rejection: `bundle`, `message`
 * @param within as of `checkShape`
 * @throws Rejection `malformed`, naming the field; that of text which is no JSON is the whole
 */
export function parseJson<T>(text: string, schema: z.ZodType<T>, what: string, within?: string): T {
  return checkShape(jsonOf(text, what), schema, what, within);
}

/** Undefined for what is no JSON: a schema then refuses it, with what its caller says of it. */
export function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** JSON that somebody else wrote. @param what as of `parseJson` @throws Rejection `malformed`: it is none, or not safe to read */
export function jsonOf(text: string, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Rejection('malformed', `the ${what} is not JSON`, { field: what, cause });
  }
  if (namesPrototype(text, value))
    throw new Rejection('malformed', `the ${what} names __proto__`, { field: what });
  return value;
}

/**
 * @param within where the value stands in the whole, as the path to a member: the rejection's field begins with it
 * @throws Rejection `malformed`; its field is the first member that is wrong, such as `quotes.0.attest`
 */
export function checkShape<T>(value: unknown, schema: z.ZodType<T>, what: string, within?: string): T {
  const result = schema.safeParse(value, inOurWords);
  if (result.success) return result.data;
  const { field: member, text } = shapeFault(result.error, schema, '');
  const field = [within ?? '', member].filter((part) => part !== '').join('.') || what;
  throw new Rejection('malformed', `${what} field ${field}: ${text}`, { field });
}
