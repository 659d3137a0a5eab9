import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';

const answer = z.strictObject({ status: z.int(), body: z.unknown() });
const recording = z.strictObject({
  version: z.string(),
  commit: z.string(),
  /** When the server was stopped, RFC 3339. */
  at: z.string(),
  /** What it had answered, by path. */
  answers: z.record(z.string(), answer),
});

export type Answer = Readonly<z.infer<typeof answer>>;
export type Recording = Readonly<z.infer<typeof recording>>;

/** The state of a server of one version, as its own programs left it. */
export interface KeptState extends Recording {
  /** Where it is recorded. */
  readonly folder: string;
  /** What 0.1.0 left, of which 0.3.0 made this; null where it began by itself. */
  readonly passed: KeptState | null;
  readonly policyFile: string;
  readonly policyText: string;
  /** PEM of the server's authority. */
  readonly authority: string;
  /** The items of what it had answered at this path. */
  itemsOf<T>(path: string, schema: z.ZodType<T>): readonly T[];
  /** Puts it into a state folder, where another server is to go on with it. */
  restore(stateDir: string): void;
}

const folder = join(import.meta.dirname, '../../swtpm-fixtures/databases');

/** Its states are refused: they pass through 0.3.0 first. */
const tooOld = '0.1.0';

/** Of every version with whose state this one goes on. */
export function readKeptStates(): readonly KeptState[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== tooOld)
    .map(({ name }) => readKeptState(join(folder, name)));
}

export const readRefusedState = (): KeptState => readKeptState(join(folder, tooOld));

function readKeptState(from: string): KeptState {
  const read = recording.parse(JSON.parse(readFileSync(join(from, 'recording.json'), 'utf8')));
  return {
    ...read,
    folder: from,
    passed: basename(from).startsWith(`${tooOld}-`) ? readRefusedState() : null,
    policyFile: join(from, 'policy.yaml'),
    policyText: readFileSync(join(from, 'policy.yaml'), 'utf8'),
    authority: readFileSync(join(from, 'tls/ca.crt'), 'utf8'),
    itemsOf(path, schema) {
      return z.object({ items: z.array(schema) }).parse(read.answers[path]?.body).items;
    },
    restore(stateDir) {
      mkdirSync(stateDir, { recursive: true, mode: 0o700 });
      writeFileSync(join(stateDir, 'assay.db'), gunzipSync(readFileSync(join(from, 'assay.db.gz'))), {
        mode: 0o600,
      });
      cpSync(join(from, 'tls'), join(stateDir, 'tls'), { recursive: true });
      cpSync(join(from, 'audit.key'), join(stateDir, 'audit.key'));
      // A clone keeps no modes but that of programs.
      for (const name of ['audit.key', 'tls/ca.key', 'tls/server.key'])
        chmodSync(join(stateDir, name), 0o600);
      chmodSync(join(stateDir, 'tls'), 0o700);
    },
  };
}
