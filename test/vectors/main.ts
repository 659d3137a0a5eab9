import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attacks } from './attacks.ts';
import { runtimeAttacks } from './runtime-attacks.ts';
import { referencesIn, vectorOf } from './vector.ts';

/** Writes vectors anew: those that are named, or all. Keys and signatures differ each time: name those that changed. */
const folder = join(import.meta.dirname, '../../swtpm-fixtures/vectors');
const names = process.argv.slice(2);
const vectors = [...attacks, ...runtimeAttacks]
  .filter(({ name }) => names.length === 0 || names.includes(name))
  .map(vectorOf);
for (const { name, bundle, policy, expected } of vectors) {
  const own = join(folder, name);
  rmSync(own, { recursive: true, force: true });
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'bundle.json'), `${JSON.stringify(bundle)}\n`);
  writeFileSync(join(own, 'policy.yaml'), policy);
  writeFileSync(join(own, 'expected.json'), `${JSON.stringify(expected, null, 2)}\n`);
}
for (const name of new Set(vectors.map(({ expected }) => expected.references))) {
  const own = join(folder, 'references', name);
  mkdirSync(own, { recursive: true });
  for (const reference of referencesIn(name))
    writeFileSync(join(own, `${reference.name}.json`), `${JSON.stringify(reference)}\n`);
}
