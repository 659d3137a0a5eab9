import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';

const json = z.json();
const query = z.string();

/** One request of the recording, and what kube-apiserver answered. */
const lineSchema = z.object({
  n: z.number(),
  case: z.string(),
  step: z.number(),
  note: z.string().optional(),
  method: z.string(),
  path: z.string(),
  query: query.optional(),
  contentType: z.string().optional(),
  accept: z.string(),
  headers: z.record(z.string(), z.string()).optional(),
  body: json.optional(),
  gzipBody: z.boolean().optional(),
  /** Absent: an administrator; `nobody`: no credential; `token:…`: a bearer token. */
  as: z.string().optional(),
  impersonate: z.object({ user: z.string(), groups: z.array(z.string()) }).optional(),
  /** Members of the answer that later requests use, each with its path. */
  capture: z.record(z.string(), z.string()).optional(),
  /** What is filled in before it is sent: `${name}` is captured, `${x*N}` N letters x. */
  template: z
    .object({ body: json.optional(), query: query.optional(), token: z.string().optional() })
    .optional(),
  /** It stays open while the next ones go. */
  background: z.boolean().optional(),
  /** Milliseconds. */
  waitBefore: z.number().optional(),
  status: z.number(),
  responseHeaders: z.record(z.string(), z.string()).optional(),
  response: json.optional(),
});

export type RecordedRequest = z.infer<typeof lineSchema>;

export const recordingFile = join(
  import.meta.dirname,
  '../../../../swtpm-fixtures/recorded-api/cases.jsonl.gz',
);

/** In the order in which they were sent. */
export function readRecording(): readonly RecordedRequest[] {
  const text = gunzipSync(readFileSync(recordingFile)).toString('utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => lineSchema.parse(JSON.parse(line)));
}

/** Their answers need what a replay cannot have: the key of the real server, or its end. */
const onlyRead: readonly string[] = [
  'tokens: made by hand with the right key (not to be replayed)',
  'shutdown: the server is told to end in the middle of watches',
  'shutdown: the server is killed in the middle of watches, and a version of before it',
];

export function isReplayed(request: RecordedRequest): boolean {
  return !onlyRead.includes(request.case);
}
