# A person who types nothing is told what to type next.
try
