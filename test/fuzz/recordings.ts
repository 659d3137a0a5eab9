import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readReleases } from '../conversations/recording.ts';

const root = join(import.meta.dirname, '../..');

/** Files of the project by a pattern from its root, in the order of their names; none is a fault. */
export function recordings(...patterns: readonly string[]): readonly Buffer[] {
  return patterns.flatMap((pattern) => {
    const names = globSync(pattern, { cwd: root }).sort();
    if (names.length === 0) throw new Error(`no recording is named ${pattern}`);
    return names.map((name) => readFileSync(join(root, name)));
  });
}

/** Examples of a page of the documents: its blocks of one language. */
export function examples(page: string, language: string): readonly Buffer[] {
  const [text = Buffer.alloc(0)] = recordings(page);
  return [...text.toString('utf8').matchAll(/^```(\w+)\n(.*?)^```/gms)].flatMap(([, of, block = '']) =>
    of === language ? [Buffer.from(block)] : [],
  );
}

/** Text frames that agents or servers of released versions sent, which ours still take. */
export function recordedFrames(sender: 'agent' | 'server'): readonly Buffer[] {
  return readReleases()
    .flatMap(({ conversations }) => [...conversations.values()].flatMap(({ steps }) => steps))
    .flatMap((step) => (step.kind === 'text' && step.from === sender ? [Buffer.from(step.text)] : []));
}

const attacks = z.object({
  facts: z.string().optional(),
  parts: z.record(z.string(), z.object({ bytes: z.string().optional() }).optional()).optional(),
  quotes: z.array(z.object({ attest: z.string(), signature: z.string() })),
  attestationKey: z.string(),
});

/** A member of each attack, once where several have the same. */
export function ofAttacks(
  take: (bundle: z.infer<typeof attacks>) => readonly (Buffer | undefined)[],
): readonly Buffer[] {
  const all = recordings('swtpm-fixtures/vectors/*/bundle.json').flatMap((bytes) => {
    const bundle = attacks.safeParse(JSON.parse(bytes.toString('utf8')));
    return bundle.success ? take(bundle.data).filter((one) => one !== undefined) : [];
  });
  return [...new Map(all.map((bytes) => [bytes.toString('latin1'), bytes])).values()];
}
