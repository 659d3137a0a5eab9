import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import type { Fault } from './fault.ts';

const manifest = z.object({ version: z.string() });

/** That what is released is committed, and its tag is no other commit. */
export async function checkGit(tree: string): Promise<readonly Fault[]> {
  const git = async (...args: readonly string[]) => {
    const bounds = { timeoutMs: 60_000, maxOutputBytes: 16 * 1024 * 1024 };
    return (await run('git', ['-C', tree, ...args], bounds)).stdout.toString('utf8').trim();
  };
  const { version } = manifest.parse(JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8')));
  const changed = (await git('status', '--porcelain')).split('\n').filter((line) => line !== '');
  const tag = `v${version}`;
  const isTaken =
    (await git('tag', '--list', tag)) !== '' &&
    (await git('rev-parse', `${tag}^{commit}`)) !== (await git('rev-parse', 'HEAD'));
  return [
    ...(changed.length === 0
      ? []
      : [
          {
            what: `${changed.length} files are not as they are committed: ${changed.slice(0, 10).join(', ')}`,
            next: 'Commit them, or put them away.',
          },
        ]),
    ...(isTaken
      ? [
          {
            what: `the tag ${tag} is another commit`,
            next: 'This version is out already: name the next one.',
          },
        ]
      : []),
  ];
}
