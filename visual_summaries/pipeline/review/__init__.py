"""The local server in which people name parts and rate maps; it reads tables and photographs, and stores answers.

It knows neither Ray nor the jobs: whoever starts it says how the run's classifier sees a photograph.
"""
