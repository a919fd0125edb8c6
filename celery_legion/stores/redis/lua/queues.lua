-- queues: every queue for which a worker that knows legion was ever registered.
return redis.call('SMEMBERS', key('queues'))
