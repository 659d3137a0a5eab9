import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { allManifests, exampleObjects } from './renderings.ts';
import { faultsOfObject } from './schema/object-faults.ts';
import { misspelt, mistyped, type Spoilt } from './schema/spoilt.ts';

/** Members whose names are free: labels and the like, keys of data, names that a schema defines. */
const freeNames = [
  /\.(labels|annotations|matchLabels|nodeSelector|requests|limits|hard|data)\..+$/,
  /\.properties\.[^.[]+$/,
  /^Service .*\.spec\.selector\..+$/,
];
/** Members whose values may be of any kind. */
const freeValues = /\.(default|enum|example)(\[\d+\])?(\.|$)/;

const examples = { name: 'the examples', objects: async () => exampleObjects() };

for (const { name, objects } of [...allManifests, examples])
  describe(`the fields of ${name}`, function () {
    this.timeout(60_000);

    it('are those that Kubernetes 1.30 and later know, of their types and words', async function () {
      const all = await objects(this);
      assert.ok(all.length > 1);
      assert.deepEqual(
        all.flatMap((object) => faultsOfObject(object, all)),
        [],
      );
    });

    // Others have no object that these two lack.
    if (!['the base', 'the chart, everything', 'the examples'].includes(name)) return;

    it('are each missed where its name is misspelt', async function () {
      const all = await objects(this);
      const { unseen, count } = await look(all, misspelt);
      assert.ok(count > 20 * all.length, `${count}`);
      assert.deepEqual(
        unseen.filter((path) => !freeNames.some((free) => free.test(path))),
        [],
      );
    });

    it('are each named where a value is of another type', async function () {
      const all = await objects(this);
      const { unseen } = await look(all, mistyped);
      assert.deepEqual(
        unseen.filter((path) => !freeValues.test(path)),
        [],
      );
    });
  });

/** Which of the objects that are spoilt in one place nothing is said of, at this place. */
async function look(
  all: readonly JsonObject[],
  spoil: (object: JsonObject) => readonly Spoilt[],
): Promise<{ readonly unseen: readonly string[]; readonly count: number }> {
  const unseen: string[] = [];
  let count = 0;
  for (const object of all) {
    const title = `${textAt(object, 'kind')} ${textAt(object, 'metadata', 'name')}`;
    for (const { path, object: spoilt } of spoil(object)) {
      count += 1;
      const faults = faultsOfObject(spoilt, all);
      // Without these nobody knows what it is.
      const isIdentity = /^(apiVersion|kind|metadata(\.name)?)($|\W|[a-z]$)/.test(path);
      const isSeen = faults.some((fault) => fault.startsWith(`${title}.${path}: `));
      if (!isSeen && !(isIdentity && faults.length > 0)) unseen.push(`${title}.${path}`);
    }
  }
  return { unseen, count };
}
