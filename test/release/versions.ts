import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { Fault } from './fault.ts';

const manifest = z.object({ version: z.string(), workspaces: z.array(z.string()).default([]) });
const lockfile = z.object({
  version: z.string(),
  packages: z.record(z.string(), z.object({ version: z.string().optional() })),
});
const chart = z.object({ version: z.string(), appVersion: z.string() });

/** That everything says one version, and that it is that of the newest dated section of the changelog. */
export function checkVersions(tree: string): readonly Fault[] {
  const read = (file: string) => readFileSync(join(tree, file), 'utf8');
  const { version, workspaces } = manifest.parse(JSON.parse(read('package.json')));
  const lock = lockfile.parse(JSON.parse(read('package-lock.json')));
  const said: (readonly [where: string, version: string | undefined])[] = [
    ['package-lock.json, version', lock.version],
    ['package-lock.json, packages[""].version', lock.packages['']?.version],
    ...workspaces.flatMap((name): (readonly [string, string | undefined])[] => [
      [`${name}/package.json, version`, manifest.parse(JSON.parse(read(`${name}/package.json`))).version],
      [`package-lock.json, packages["${name}"].version`, lock.packages[name]?.version],
    ]),
    ['attest-server/version.ts', /version = '([^']*)'/.exec(read('attest-server/version.ts'))?.[1]],
    ...ofChart(tree),
    ...globSync(['README.md', 'docs/**/*.md'], { cwd: tree }).flatMap((file) =>
      [
        ...read(file).matchAll(/\b(assay-)(\d+\.\d+\.\d+)\.tgz/g),
        ...read(file).matchAll(/\b(assay-(?:agent|server):)(\d+\.\d+\.\d+)/g),
      ].map(([, name, named]): readonly [string, string | undefined] => [`${file}, ${name}…`, named]),
    ),
  ];
  return [
    ...(/^\d+\.\d+\.\d+$/.test(version)
      ? []
      : [{ what: `package.json: version ${version} is none of a release`, next: 'Set MAJOR.MINOR.PATCH.' }]),
    ...said
      .filter(([, other]) => other !== version)
      .map(([where, other]) => ({
        what: `${where} is ${other ?? 'missing'}, and package.json says ${version}`,
        next: `Set it to ${version}.`,
      })),
    ...ofChangelog(read('CHANGELOG.md'), version),
  ];
}

function ofChart(tree: string): readonly (readonly [string, string | undefined])[] {
  const file = 'manifests/chart/Chart.yaml';
  const isThere = existsSync(join(tree, file));
  const { version, appVersion } = isThere ? chart.parse(parse(readFileSync(join(tree, file), 'utf8'))) : {};
  return [
    [`${file}, version`, version],
    [`${file}, appVersion`, appVersion],
  ];
}

function ofChangelog(text: string, version: string): readonly Fault[] {
  const sections = text.split(/^## /m).slice(1);
  const unreleased = sections.find((section) => section.startsWith('Unreleased'));
  const [newest = ''] = sections.filter((section) => section !== unreleased);
  const [heading = ''] = newest.split('\n');
  const faults: Fault[] = [];
  if (unreleased !== undefined && unreleased.replace('Unreleased', '').trim() !== '')
    faults.push({
      what: 'CHANGELOG.md: something stands under Unreleased',
      next: `Move it into the section ${version}.`,
    });
  const [, named, date = ''] = /^(\S+) - (\S+)$/.exec(heading) ?? [];
  if (named !== version || !z.iso.date().safeParse(date).success)
    faults.push({
      what: `CHANGELOG.md: the newest section is "## ${heading}"`,
      next: `Write "## ${version} - YYYY-MM-DD", with the day of the release.`,
    });
  return faults;
}
