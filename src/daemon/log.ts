import { type Logger, pino } from 'pino';
import { PinoPretty } from 'pino-pretty';

/** A logger that writes to standard error: plain lines, or JSON for machines. Synchronous, so that no line is lost. */
export function createLog(level: string, json: boolean): Logger {
  if (json) return pino({ level, base: null }, pino.destination({ fd: 2, sync: true }));
  const pretty = PinoPretty({
    destination: 2,
    sync: true,
    colorize: process.stderr.isTTY,
    ignore: 'pid,hostname,device,code',
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return pino({ level, base: null }, pretty);
}
