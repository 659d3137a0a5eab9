import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Reference, reference } from '../../../../../attest-server/formats/reference.ts';
import { runAssay } from '../../cli-fixture.ts';

type GivenFile = readonly [option: '--kernel' | '--initrd' | '--loader', path: string, bytes: Buffer];

/** What `assay reference compute` makes of these files for group `workers`, in force. @param more words of the command */
export async function computedReference(
  files: readonly GivenFile[],
  ...more: readonly string[]
): Promise<Reference> {
  const cwd = await mkdtemp(join(tmpdir(), 'assay-computed-'));
  try {
    const given: string[] = [];
    for (const [option, path, bytes] of files) {
      await mkdir(dirname(join(cwd, path)), { recursive: true });
      await writeFile(join(cwd, path), bytes);
      given.push(option, path);
    }
    const named = ['--name', 'next', '--group', 'workers', '--state', 'active', '-o', 'json'];
    const { code, out, err } = await runAssay(['reference', 'compute', ...named, ...given, ...more], { cwd });
    assert.equal(code, 0, err);
    return reference.parse(JSON.parse(out));
  } finally {
    await rm(cwd, { recursive: true });
  }
}
