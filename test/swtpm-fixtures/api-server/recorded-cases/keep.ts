import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { recordingFile } from './recording.ts';

/** Keeps a recording for the tests, without what they never compare: `keep.ts FILE.jsonl`. */
function main([from]: readonly string[]): void {
  if (from === undefined) throw new Error('usage: keep.ts FILE.jsonl');
  const lines = readFileSync(from, 'utf8').trim().split('\n');
  const kept = lines.map((line) => {
    const request = JSON.parse(line);
    const response = JSON.stringify(request.response, (name, value) =>
      dropped.includes(name) ? undefined : value,
    );
    return JSON.stringify({ ...request, response: response && JSON.parse(response), tokenClaims: undefined });
  });
  writeFileSync(recordingFile, gzipSync(`${kept.join('\n')}\n`, { level: 9 }));
}

/** Of answers: who owns which field, and the schemas and paths of OpenAPI documents. */
const dropped: readonly string[] = ['managedFields', 'paths', 'components'];

main(process.argv.slice(2));
