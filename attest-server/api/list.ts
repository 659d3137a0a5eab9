import { z } from 'zod';

/** A page of a list; `next` goes into the parameter that the list names, null on the last page. */
export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), next: z.string().nullable() });
