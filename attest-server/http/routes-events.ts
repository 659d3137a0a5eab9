import { z } from 'zod';
import { eventFilter } from '../api/event-filter.ts';
import { eventMessage } from '../formats/event.ts';
import { callerOf, type Route, routeWithQuery } from './route.ts';

const listenQuery = eventFilter.extend({
  after: z
    .string()
    .max(64)
    .describe('The id of an event, or a number of the audit log: what came after it is told first')
    .optional(),
  follow: z
    .enum(['true', 'false'], 'not true or false')
    .default('true')
    .describe('`false`: only what happened until now; the answer ends with it'),
});

/** Events as they are committed. */
export const eventRoutes: readonly Route[] = [
  routeWithQuery('GET', '/v1/events', 'reader', {
    operation: 'streamEvents',
    summary:
      'Events as they are committed (Server-Sent Events), each with the message that a webhook gets; Last-Event-ID, or parameter after, resumes; parameters node, group, event (several with commas) choose; a comment each 15 s; at most 200 listeners; ends with the token',
    query: listenQuery,
    problems: [409, 429],
    events: eventMessage,
    async handle({ listen }, { message: { headers, socket }, caller, query }) {
      const { after = headers['last-event-id'], follow, ...filter } = query;
      return {
        stream: await listen({
          caller: callerOf(caller),
          authorization: headers.authorization,
          address: socket.remoteAddress,
          after: typeof after === 'string' ? after : null,
          filter,
          isLive: follow === 'true',
        }),
      };
    },
  }),
];
