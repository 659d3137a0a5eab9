import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kubernetesFields } from './kubernetes-types.ts';

// Records which members came after Kubernetes 1.30. Its argument is the unpacked npm package
// @kubernetes/client-node 0.22.3 (Apache-2.0), the last one that was made of the API of 1.30.
/** Types that had another name in that client. */
const earlierNames: Readonly<Record<string, string>> = { CoreV1ResourceClaim: 'V1ResourceClaim' };

const [folder = ''] = process.argv.slice(2);
const newer = Object.entries(kubernetesFields).flatMap(([type, members]) => {
  const older = membersIn(type);
  return Object.keys(members).flatMap((member) => (older.has(member) ? [] : [`${type}.${member}`]));
});
await writeFile(join(import.meta.dirname, 'newer-fields.json'), `${JSON.stringify(newer, null, 2)}\n`);

function membersIn(type: string): ReadonlySet<string> {
  const name = earlierNames[type] ?? type;
  const file = join(folder, `dist/gen/model/${name[0]?.toLowerCase()}${name.slice(1)}.js`);
  if (!existsSync(file)) return new Set();
  return new Set(
    [...readFileSync(file, 'utf8').matchAll(/"baseName": "([^"]+)"/g)].map(([, name = '']) => name),
  );
}
