import { parseAllDocuments } from 'yaml';
import { isObject, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';

/** The objects of a text of YAML documents. A key that is there twice is an error, as is a tag; an empty document is none. */
export function parseObjects(text: string): readonly JsonObject[] {
  const documents = parseAllDocuments(text, { version: '1.1', uniqueKeys: true });
  return ('empty' in documents ? [] : documents).flatMap((document) => {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault !== undefined) throw fault;
    const object: unknown = document.toJS();
    if (object === null) return [];
    if (!isObject(object)) throw new Error('a document holds what is no object');
    return [object];
  });
}
