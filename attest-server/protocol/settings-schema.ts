import { z } from 'zod';
import { type Setting, type Settings, withoutDefault } from './settings.ts';

/**
 * The JSON schema of a program's configuration file, for editors and the chart. It knows the file alone: nothing is required, because
 * a variable may say what the file leaves out. Draft 7, and expressions without look-around, are what Helm reads.
 */
export function settingsJsonSchema(title: string, settings: Settings): object {
  const { $schema, ...rest } = z.toJSONSchema(fileSchema(settings), { io: 'input', target: 'draft-7' });
  return { $schema, title, ...rest };
}

/** The file as a whole, with its mappings. */
function fileSchema(settings: Settings): z.ZodObject {
  const shape: Record<string, z.ZodType> = {};
  const within: Record<string, Record<string, Setting>> = {};
  for (const [key, setting] of Object.entries(settings)) {
    const [outer = key, ...inner] = key.split('.');
    if (inner.length === 0) shape[key] = schemaInFile(setting).optional();
    else within[outer] = Object.assign(within[outer] ?? {}, { [inner.join('.')]: setting });
  }
  for (const [outer, inner] of Object.entries(within)) shape[outer] = fileSchema(inner).optional();
  return z.strictObject(shape);
}

/** A file may say a list as a variable does, too: `endorsementRoots: none`. */
function schemaInFile({ schema }: Setting): z.ZodType {
  const list = withoutDefault(schema);
  if (!(list instanceof z.ZodArray)) return schema;
  const hints = schema instanceof z.ZodDefault ? { default: schema.parse(undefined) } : {};
  return z.union([list, z.string().min(1)]).meta({ ...hints, description: schema.description });
}
