import { z } from 'zod';
import { type FormerSettings, type Setting, type Settings, withoutDefault } from './settings.ts';

/**
 * The JSON schema of a program's configuration file, for editors and the chart. It knows the file alone: nothing is required, because
 * a variable may say what the file leaves out. Draft 7, and expressions without look-around, are what Helm reads.
 * @param former taken whatever they say, as the program takes them
 */
export function settingsJsonSchema(title: string, settings: Settings, former: FormerSettings = {}): object {
  const ignored = Object.entries(former).map(([key, { variable, instead }]): [string, Setting] => [
    key,
    {
      variable,
      schema: z.unknown().meta({ deprecated: true, description: `it says nothing any more: ${instead}` }),
    },
  ]);
  const all = { ...settings, ...Object.fromEntries(ignored) };
  const { $schema, ...rest } = z.toJSONSchema(fileSchema(all), { io: 'input', target: 'draft-7' });
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
