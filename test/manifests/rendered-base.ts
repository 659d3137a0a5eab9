import { globSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GeneratedFiles } from '../generated/list.ts';
import { chartFolder, helm } from './kubernetes-tools.ts';
import { parseObjects } from './parse-objects.ts';
import { baseFolder } from './renderings.ts';

/** A policy that a kustomization patches may come to mark, and no template would see it. */
export const baseValues = ['--set', 'admission.action=Deny'];

/**
 * What manifests/base is to hold beside its kustomization.yaml: the chart with no other values, file for file. Hooks are Helm's own; the job
 * that unmarks is in a folder for itself, since it is for the day on which the rest goes.
 */
export async function baseFiles(): Promise<GeneratedFiles> {
  const kept = globSync('**/*.yaml', { cwd: baseFolder, exclude: ['**/kustomization.yaml'] });
  const files = new Map<string, string | null>(kept.map((file) => [`manifests/base/${file}`, null]));
  const folder = await mkdtemp(join(tmpdir(), 'assay-base-'));
  try {
    // Of no namespace that the chart makes, so that it makes both.
    await helm(
      ...['template', 'assay', chartFolder, '--namespace', 'default', '--output-dir', folder],
      ...baseValues,
    );
    const templates = join(folder, 'assay', 'templates');
    for (const file of globSync('**/*.yaml', { cwd: templates }).sort()) {
      const name = file === 'hooks/unmark.yaml' ? 'unmark/unmark.yaml' : file;
      const text = await readFile(join(templates, file), 'utf8');
      if (!/^(hooks|tests)\//.test(name) && parseObjects(text).length > 0)
        files.set(`manifests/base/${name}`, text);
    }
    return files;
  } finally {
    await rm(folder, { recursive: true });
  }
}
