import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * Of spdx/spdx-spec, commit ed8c9b520963b651fce3c86422b387e92e6d9a8f (branch support/2.3), schemas/spdx-schema.json, laid out
 * anew; CC-BY-3.0.
 */
const schema = z.fromJSONSchema(
  JSON.parse(readFileSync(join(import.meta.dirname, 'spdx-2.3.schema.json'), 'utf8')),
);

const document = z.looseObject({
  packages: z.array(
    z.looseObject({
      SPDXID: z.string(),
      name: z.string(),
      versionInfo: z.string(),
      licenseDeclared: z.string(),
    }),
  ),
  relationships: z.array(z.looseObject({ spdxElementId: z.string(), relatedSpdxElement: z.string() })),
  hasExtractedLicensingInfos: z.array(z.looseObject({ licenseId: z.string() })),
});

/** @throws Error where it is no document of SPDX 2.3, or names what it does not hold */
export function checkSpdx(value: unknown): z.infer<typeof document> {
  schema.parse(value);
  const parsed = document.parse(value);
  const ids = parsed.packages.map(({ SPDXID }) => SPDXID);
  assert.equal(new Set(ids).size, ids.length, 'an SPDXID stands for one package');
  for (const { spdxElementId, relatedSpdxElement } of parsed.relationships)
    for (const id of [spdxElementId, relatedSpdxElement])
      assert.ok(id === 'SPDXRef-DOCUMENT' || ids.includes(id), `${id} is not in the document`);
  const defined = parsed.hasExtractedLicensingInfos.map(({ licenseId }) => licenseId);
  for (const { SPDXID, licenseDeclared } of parsed.packages)
    for (const [name] of licenseDeclared.matchAll(/LicenseRef-[A-Za-z0-9.-]+/g))
      assert.ok(defined.includes(name), `${SPDXID}: ${name} is not defined`);
  return parsed;
}
