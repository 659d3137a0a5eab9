import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { mayHoldMore } from '../wire/messages.ts';
import { jsonOf } from '../wire/parse-json.ts';
import { outsideText } from '../wire/printable.ts';
import { Rejection } from '../wire/rejection.ts';
import { inOurWords, shapeFault } from '../wire/shape-fault.ts';
import { HttpProblem } from './problem.ts';
import { repeatedMember } from './repeated-member.ts';

/** The largest reference of a boot has some 100,000; one of files has few, and long ones. */
const mostValues = 1024 * 1024;

/**
 * Reads a JSON body of at most `maxBytes` and gives it its shape.
 * @throws HttpProblem 415, 413, 400 (naming the field)
 */
export async function readBody<T extends z.ZodType>(
  request: IncomingMessage,
  schema: T,
  maxBytes: number,
): Promise<z.output<T>> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new HttpProblem(415, 'send the body as content type application/json');
  const value = parseJson(await readBytes(request, maxBytes));
  return parseShape(schema, value, 'body');
}

/** False if a request has none at all: its length is not said, or is zero. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** @throws HttpProblem 400, naming the field */
export function parseShape<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const result = schema.safeParse(value, inOurWords);
  if (result.success) return result.data;
  const { field: member, text } = shapeFault(result.error, schema, '');
  const field = member === '' ? what : `${what}.${member}`;
  throw new HttpProblem(400, `${field}: ${text}`, { code: 'invalid_field', field });
}

async function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = new HttpProblem(413, `the body is larger than ${maxBytes} bytes`, {
    headers: { connection: 'close' },
  });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > maxBytes) throw tooLarge;
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  const text = bytes.toString('utf8');
  // Attack: brackets and commas alone, each of which becomes many times its size in memory.
  if (text.length > mostValues && mayHoldMore(text, mostValues))
    throw new HttpProblem(413, `the body has more than ${mostValues} values`);
  const value = jsonIn(text);
  const repeated = repeatedMember(text);
  if (repeated === null) return value;
  const field = outsideText(`body.${repeated}`);
  throw new HttpProblem(400, `${field}: the body has this member twice`, { code: 'invalid_field', field });
}

function jsonIn(text: string): unknown {
  try {
    return jsonOf(text, 'body');
  } catch (error) {
    if (error instanceof Rejection) throw new HttpProblem(400, error.message, { code: error.code });
    throw error;
  }
}
