import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
  readonly policyFile: string;
  /** Puts it into a state folder, where another server is to go on with it. */
  restore(stateDir: string): void;
}

const folder = join(import.meta.dirname, '../../swtpm-fixtures/databases');

/** Of every version that has a folder. */
export function readKeptStates(): readonly KeptState[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => readKeptState(join(folder, name)));
}

function readKeptState(from: string): KeptState {
  const read = recording.parse(JSON.parse(readFileSync(join(from, 'recording.json'), 'utf8')));
  return {
    ...read,
    policyFile: join(from, 'policy.yaml'),
    restore(stateDir) {
      writeFileSync(join(stateDir, 'assay.db'), gunzipSync(readFileSync(join(from, 'assay.db.gz'))), {
        mode: 0o600,
      });
      cpSync(join(from, 'tls'), join(stateDir, 'tls'), { recursive: true });
      cpSync(join(from, 'audit.key'), join(stateDir, 'audit.key'));
    },
  };
}
