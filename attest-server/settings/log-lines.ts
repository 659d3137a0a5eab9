/** How every program writes its log, as options of pino: levels as words, times in RFC 3339. */
export const logLines = {
  formatters: { level: (level: string) => ({ level }) },
  timestamp: () => `,"time":"${new Date().toISOString()}"`,
};
