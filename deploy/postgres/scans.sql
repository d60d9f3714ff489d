-- PostgreSQL's image runs this file once, when its volume is empty. It makes the tickets' database by itself.
CREATE DATABASE scans;
